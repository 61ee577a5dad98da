"""A process for each account, in which everything is done to the folders of its bots and read of them.

``server`` is what runs there, ``client`` speaks with it, ``launch`` says how one comes to be, ``functions`` what it may be
asked. The daemon itself resolves no name in a folder that somebody else can write.
"""
