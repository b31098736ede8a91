"""The library of the course: sources of quartets, networks, losses, metrics, training, pictures.

Importing ``helpers`` costs nothing: each module imports what it needs, when you import that module.
"""
