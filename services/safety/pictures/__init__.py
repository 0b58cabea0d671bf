"""What a picture shows that the policy speaks about: one module for each checker, and the panel that asks them all."""
