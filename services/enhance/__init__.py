"""The enhancement room: decides in which passes a picture is restored and reaches its size, and has models carry them out."""
