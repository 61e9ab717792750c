"""The guarded inference server: keys, rates, guards, Open Inference Protocol v2, a chained record of every request."""
