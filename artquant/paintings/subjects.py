"""Which function draws which subject."""

from artquant.paintings.indoors import abstract, flowers, still_life
from artquant.paintings.landscapes import desert, mountains, seascape
from artquant.paintings.sitters import cat, portrait
from artquant.paintings.woods_and_towns import forest, town

DRAW = {
    "mountains": mountains,
    "seascape": seascape,
    "desert": desert,
    "forest": forest,
    "town": town,
    "still_life": still_life,
    "flowers": flowers,
    "portrait": portrait,
    "cat": cat,
    "abstract": abstract,
}
