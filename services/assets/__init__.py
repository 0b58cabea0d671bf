"""The asset room: decides what may be stored, and when stored bytes may go.

An asset is a record (whose it is, what made it, its scores) over content-addressed bytes. Many assets may share the
same bytes; the bytes go with the last of them.
"""
