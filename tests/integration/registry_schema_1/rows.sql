INSERT INTO context (id, type, name, scope, parent_id, external_id, created, updated, body) VALUES (1, 'RegisteredModel', 'fraud', '', NULL, 'x-1', 1000, 1001, '{"state":"ARCHIVED","owner":"Ada","customProperties":{"team":{"metadataType":"MetadataStringValue","string_value":"risk"},"size":{"metadataType":"MetadataIntValue","int_value":"7"},"score":{"metadataType":"MetadataDoubleValue","double_value":0.5},"ready":{"metadataType":"MetadataBoolValue","bool_value":true},"more":{"metadataType":"MetadataStructValue","struct_value":"e30="}}}');
INSERT INTO context (id, type, name, scope, parent_id, external_id, created, updated, body) VALUES (2, 'ModelVersion', 'v1', '1', 1, NULL, 2000, 2000, '{"state":"LIVE","author":"Grace"}');
INSERT INTO context_property (owner_id, custom, name, string_value, int_value, double_value, bool_value) VALUES (1, false, 'state', 'ARCHIVED', NULL, NULL, NULL);
INSERT INTO context_property (owner_id, custom, name, string_value, int_value, double_value, bool_value) VALUES (1, true, 'size', NULL, 7, NULL, NULL);
INSERT INTO artifact (id, type, name, scope, parent_id, external_id, created, updated, body) VALUES (1, 'ModelArtifact', 'weights', '2', NULL, NULL, 3000, 3000, '{"state":"LIVE","uri":"s3://models/fraud.onnx","customProperties":{}}');
INSERT INTO artifact_property (owner_id, custom, name, string_value, int_value, double_value, bool_value) VALUES (1, false, 'uri', 's3://models/fraud.onnx', NULL, NULL, NULL);
INSERT INTO attribution (context_id, artifact_id) VALUES (2, 1);
INSERT INTO towpath_registry_schema (version) VALUES (1);
