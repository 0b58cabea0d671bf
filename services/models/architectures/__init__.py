"""Networks whose checkpoints operators bring: written from the papers, with the published checkpoints' key names."""
