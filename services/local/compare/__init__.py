"""`vmesh compare`: several models at the same prompts, side by side.

Each prompt goes to every model with one seed; what comes of it is a table (quality, seconds, cost), a contact sheet (a
row for each prompt, a column for each model) and a file with all figures.
"""
