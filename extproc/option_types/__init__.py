"""Click parameter types that several command lines share."""
