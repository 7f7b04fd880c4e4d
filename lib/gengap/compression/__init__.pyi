from .archive import Hypothesis as Hypothesis
from .methods import METHODS as METHODS
from .methods import Compressor as Compressor
from .methods import compress as compress
from .quantized import QuantizedModel as QuantizedModel
from .quantized import QuantizedTensor as QuantizedTensor
