"""The report: one self-contained page with the verdict, the numbers, the pictures and how to repeat them."""
