"""The Gymnasium interface: single and native vector environments, observations, masks and rendering."""
