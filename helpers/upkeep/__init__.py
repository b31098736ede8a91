"""For whoever changes the course: runs the notebooks, draws the pictures, makes the weights, keeps links and times true."""
