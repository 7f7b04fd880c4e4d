"""Verbs that make records: certify a model, survey its quantization, work through the plan of trainings, run the graph."""
