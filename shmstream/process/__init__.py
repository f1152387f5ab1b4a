"""One process's part in a deployment: what it holds, and its work in the background.

::

    Attachment ----> ThisProcess          one per process and directory
    (Streams and        |--> SupervisorLink     the connection to the supervisor, which
     what it makes)     |                       it starts anew if needed (``respawn``)
                        |--> MembershipHolder   the slot and all that comes with it,
                        |                       complete or absent (``membership``)
                        |--> LiveProducers      the producers of this process
                        |--> LocalFollowers     the followers of this process
                        |--> Mappings           the segments that are mapped here
                        '--> DoorbellChores     the work of the doorbell's thread

All is made lazily and after fork: importing or attaching starts nothing. All work in
the background is done or started by one thread: the doorbell's.
"""
