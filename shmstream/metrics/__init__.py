"""What is counted, and how it is read: counters in shared memory, one writer each.

==============  ========================================================================
``catalogue``   every metric: its name, its labels, and the word that counts it
``counts``      the words of one process, which its code counts in
``own_counts``  the supervisor's words, and the blocks that it gives to workers
``blocks``      the file of all processes' words: its layout, making and mapping
``departed``    adds up the words of processes that have left, each exactly once
``reading``     reads the numbers of a whole deployment; asks no other process
``exposition``  writes them as Prometheus' text or as OpenMetrics
``human``       writes them as a table for people
==============  ========================================================================

Producers and followers count in attributes of their own, and a thread adds these to the
words once a second. So a chunk that a hub hands to its readers costs some 20 ns more
(``python -m bench metrics``), and one that a reader fetches by iteration some 60 ns.
"""
