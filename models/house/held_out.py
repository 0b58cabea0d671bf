"""Prompts the models are measured on and never trained on.

Each has the icon it should look like and, when the prompt asks for one, the colour. `captions` drops any training
caption that says the same.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A held-out prompt, the label of the icon that answers it, and the colour asked for ('' when none)."""

    prompt: str
    label: str
    colour: str = ""


def _targets(*rows: str) -> tuple[Target, ...]:
    return tuple(Target(*(part.strip() for part in row.split("|"))) for row in rows)


PARAPHRASES = _targets(
    "a juicy red apple | red apple", "a cute little kitty | cat face", "a friendly puppy dog | dog face",
    "a king's golden crown with jewels | crown", "a fast police car | police car", "a slice of pepperoni pizza | pizza",
    "a jet plane flying | airplane", "a big yellow school bus | bus", "a cup of hot coffee | hot beverage",
    "a laughing smiley | face with tears of joy", "a furious red face | enraged face", "a cool guy emoji wearing shades | smiling face with sunglasses",
    "a space rocket launching | rocket", "a house to live in | house", "a tall pine tree in the forest | evergreen tree",
    "a prickly cactus plant | cactus", "a sweet ripe strawberry | strawberry", "a bunch of purple grapes | grapes",
    "a brightly shining sun | sun", "a shiny gold star | star", "a spooky little ghost | ghost", "a friendly robot head | robot",
    "a blazing fire | fire", "a birthday gift with a bow | wrapped gift", "a lucky green clover | four leaf clover",
    "a woman who flies to space | woman astronaut", "a brave fireman | firefighter", "a smiling young woman | woman",
    "an old wizard | mage", "a policeman in uniform | police officer", "a fluffy white cloud | cloud", "an orange carrot vegetable | carrot",
    "a strong hammer tool | hammer", "a ringing alarm clock | alarm clock", "a cold scoop of ice cream | ice cream",
    "a bright idea light bulb | light bulb", "a sunflower bloom | sunflower", "a swimming tropical fish | tropical fish",
    "a panda bear's face | panda", "a wild fox | fox", "a big football for soccer | soccer ball", "a winner's trophy | trophy",
    "a medieval castle | castle", "a steaming bowl of ramen noodles | steaming bowl", "a tasty cheeseburger | hamburger",
    "a wooden door | door", "the planet saturn with rings | ringed planet", "a jewel diamond | gem stone",
)  # fmt: skip

COLOURS = _targets(
    "a green car | automobile | green", "a purple heart shape | red heart | purple", "a blue apple | red apple | blue",
    "a pink star | star | pink", "a blue balloon | balloon | blue", "a green rose | rose | green", "a purple cat | cat face | purple",
    "an orange fish | fish | orange", "a pink house | house | pink", "a blue strawberry | strawberry | blue",
    "a green fox | fox | green", "a yellow umbrella | umbrella | yellow",
)  # fmt: skip

STYLED = _targets(
    "a smiling cat, 3d render, soft lighting, highly detailed | grinning cat",
    "a red sports car, cinematic lighting, 4k, sharp focus | automobile",
    "an astronaut in space, digital art, vibrant colors | astronaut",
    "a cute dog, studio lighting, professional photography | dog face",
    "a pumpkin for halloween, glossy 3d icon, detailed | jack-o-lantern",
    "a snowman in winter, soft light, high quality | snowman",
)

HELD_OUT = PARAPHRASES + COLOURS + STYLED
