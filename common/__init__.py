"""What two papers share; knows no paper and no corpus."""
