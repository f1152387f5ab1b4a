"""One process's part in a deployment: what it holds, and what it does aside.

::

    Attachment ----> ThisProcess          one per process and directory
    (Streams and        |--> SupervisorLink     the connection, and a supervisor to
     what it makes)     |                       connect to (``respawn``)
                        |--> MembershipHolder   the slot and all that comes with it,
                        |                       whole or not there (``membership``)
                        |--> LiveProducers      what is written here
                        |--> LocalFollowers     who follows here
                        |--> Mappings           the segments that are mapped here
                        '--> DoorbellChores     what the doorbell's thread does

All is made lazily and after fork: importing or attaching starts nothing. What is done
in the background, one thread does: the doorbell's.
"""
