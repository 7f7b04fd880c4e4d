from .coding import choose as choose
from .loop import distance as distance
from .loop import train as train
from .recipe import RECIPES as RECIPES
from .recipe import Requential as Requential
from .sampler import Sampler as Sampler
from .transmission import decode as decode
from .transmission import encode as encode
