from .corpus import corpus_rows as corpus_rows
from .counted import TrainingRows as TrainingRows
from .rows import Rows as Rows
from .rows import TokenRows as TokenRows
from .rows import sample_rows as sample_rows
from .sources import as_rows as as_rows
from .sources import open_rows as open_rows
