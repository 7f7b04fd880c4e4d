from .corpus import corpus_rows as corpus_rows
from .rows import Rows as Rows
from .rows import TokenRows as TokenRows
from .rows import sample_rows as sample_rows
