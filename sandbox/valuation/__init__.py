"""What a credit of data is worth: the same model on recipes of equal bills, compared."""
