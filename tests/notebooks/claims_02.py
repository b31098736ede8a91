"""Claims of notebook 02 that can be computed, and numbers in its prose that no cell prints."""

# A phrase of its prose, and whether its printed output bears it out.
CLAIMS = []

# Numbers that are definitions or come from elsewhere, each with its source.
DEFINITIONS = []
