"""Where a picture comes from: a signed C2PA manifest in its file and an invisible watermark in its pixels.

The manifest says who made it, with what and when asked, and tells any later change; whoever re-saves the file without
it loses it. The watermark says less and stays: through JPEG, resizing and cropping. docs/19-provenance.md measures both.
"""
