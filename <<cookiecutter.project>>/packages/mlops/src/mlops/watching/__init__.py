"""Has the world moved since training, and which models are due for a new version?"""
