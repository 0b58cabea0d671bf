"""The usage room: takes what users thought of results to the router, which learns from it; will count work and money."""
