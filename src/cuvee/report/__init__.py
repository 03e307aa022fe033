"""Reports: tables, figures and pages made of plain values. Knows no study, no suite and no method."""
