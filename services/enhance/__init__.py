"""The enhancement room: decides in which passes a picture reaches its size, and runs them on the upscaler in Triton."""
