"""`glucose`: a wearer's last three hours of readings to the next two, with intervals; figures in MODEL.md."""
