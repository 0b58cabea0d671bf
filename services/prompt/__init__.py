"""The prompt room: decides what a prompt says, in which style it is, and which words it is drawn with.

Styles are found by their keywords first, then by likeness of meaning to exemplars; when the embedding model does not
answer, keywords decide alone. Words are only ever added, never changed.
"""
