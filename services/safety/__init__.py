"""The safety room: decides whether a prompt may be drawn and a picture delivered.

It fails closed. A verdict exists only when every check ran; a check that failed, was late or answered nonsense ends the
call with SAFETY_UNCHECKED. Findings name rules and scores and never repeat the caller's text.
"""
