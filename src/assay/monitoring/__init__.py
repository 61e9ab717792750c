"""What served traffic looks like against the training baseline: drift, reject rate, alerts."""
