"""A simulated day of traffic: what the learning router gains over simple rules, and how far it is from an oracle."""
