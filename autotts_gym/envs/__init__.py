"""The Gymnasium face: single and native vector environments, observations, masks and rendering."""
