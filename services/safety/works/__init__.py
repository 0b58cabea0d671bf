"""Works that must not be reproduced: how they are registered, and how a picture is held against them."""
