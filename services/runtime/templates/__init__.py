"""The grammar of prompt templates: texts with holes, and what may stand in each hole.

Two servers need it: the prompt server fills templates, the asset server keeps those of a tenant's own.
"""
