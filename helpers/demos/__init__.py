"""The small experiments of notebooks 01 to 05 and 07, one idea each. Nothing here is needed to train or to predict."""
