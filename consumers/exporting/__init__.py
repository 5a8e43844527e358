"""Results as a hospital's systems read them: DICOM reports and pictures, FHIR resources; nothing is sent here."""
