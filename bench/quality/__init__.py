"""What the quality server's measures say of pictures that are spoilt step by step, and how long they take."""
