"""What an agent does: macro actions, each a decision of one round."""
