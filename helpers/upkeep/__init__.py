"""For whoever changes the course: commands that run the notebooks, draw the images, make the weights, and keep links
and measured times right. ``CONTRIBUTING.md`` lists them.
"""
