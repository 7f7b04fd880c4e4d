from .checks import check_model as check_model
from .companion import Companion as Companion
from .companion import beside_statistics as beside_statistics
from .evaluation import rows_sha256 as rows_sha256
from .evaluation import weights_sha256 as weights_sha256
from .per_token import TokenStatistics as TokenStatistics
from .per_token import tilted_statistics as tilted_statistics
from .per_token import token_statistics as token_statistics
