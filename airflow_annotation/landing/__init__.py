"""The steps of a landing between a labeling tool and a destination, and the media that land with the labels."""
