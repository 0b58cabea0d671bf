"""What can make media, each kind behind the one protocol of `protocol`."""
