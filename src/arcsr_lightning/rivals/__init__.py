"""The methods that ArcSR is compared with, one folder each: network, blocks, loss. ``rrdb`` is the trunk some share.

Beside the folders lies what several of them need and the paper has not.
"""
