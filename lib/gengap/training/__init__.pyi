from .log import TrainingLog as TrainingLog
from .loop import train as train
from .loop import train_run as train_run
from .run import Run as Run
from .run import Schedule as Schedule
