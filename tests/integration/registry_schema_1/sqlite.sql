CREATE TABLE context (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  type VARCHAR(40) NOT NULL,
  name VARCHAR(255) NOT NULL,
  scope VARCHAR(40) NOT NULL,
  parent_id INTEGER,
  external_id VARCHAR(255),
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  body JSON NOT NULL,
  CONSTRAINT uq_context_name UNIQUE (type, scope, name),
  CONSTRAINT uq_context_external_id UNIQUE (external_id),
  FOREIGN KEY(parent_id) REFERENCES context (id)
);
CREATE INDEX ix_context_created ON context (type, created, id);
CREATE INDEX ix_context_id ON context (type, id);
CREATE INDEX ix_context_parent ON context (type, parent_id, id);
CREATE INDEX ix_context_updated ON context (type, updated, id);
CREATE TABLE towpath_registry_schema (
  version INTEGER NOT NULL,
  PRIMARY KEY (version)
);
CREATE TABLE artifact (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  type VARCHAR(40) NOT NULL,
  name VARCHAR(255) NOT NULL,
  scope VARCHAR(40) NOT NULL,
  parent_id INTEGER,
  external_id VARCHAR(255),
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  body JSON NOT NULL,
  CONSTRAINT uq_artifact_name UNIQUE (type, scope, name),
  CONSTRAINT uq_artifact_external_id UNIQUE (external_id),
  FOREIGN KEY(parent_id) REFERENCES context (id)
);
CREATE INDEX ix_artifact_created ON artifact (type, created, id);
CREATE INDEX ix_artifact_id ON artifact (type, id);
CREATE INDEX ix_artifact_parent ON artifact (type, parent_id, id);
CREATE INDEX ix_artifact_updated ON artifact (type, updated, id);
CREATE TABLE context_property (
  owner_id INTEGER NOT NULL,
  custom BOOLEAN NOT NULL,
  name VARCHAR(255) NOT NULL,
  string_value TEXT,
  int_value INTEGER,
  double_value DOUBLE,
  bool_value BOOLEAN,
  PRIMARY KEY (owner_id, custom, name),
  FOREIGN KEY(owner_id) REFERENCES context (id)
);
CREATE INDEX ix_context_property_name ON context_property (name, custom, owner_id);
CREATE TABLE execution (
  id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  type VARCHAR(40) NOT NULL,
  name VARCHAR(255) NOT NULL,
  scope VARCHAR(40) NOT NULL,
  parent_id INTEGER,
  external_id VARCHAR(255),
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  body JSON NOT NULL,
  CONSTRAINT uq_execution_name UNIQUE (type, scope, name),
  CONSTRAINT uq_execution_external_id UNIQUE (external_id),
  FOREIGN KEY(parent_id) REFERENCES context (id)
);
CREATE INDEX ix_execution_created ON execution (type, created, id);
CREATE INDEX ix_execution_id ON execution (type, id);
CREATE INDEX ix_execution_parent ON execution (type, parent_id, id);
CREATE INDEX ix_execution_updated ON execution (type, updated, id);
CREATE TABLE artifact_property (
  owner_id INTEGER NOT NULL,
  custom BOOLEAN NOT NULL,
  name VARCHAR(255) NOT NULL,
  string_value TEXT,
  int_value INTEGER,
  double_value DOUBLE,
  bool_value BOOLEAN,
  PRIMARY KEY (owner_id, custom, name),
  FOREIGN KEY(owner_id) REFERENCES artifact (id)
);
CREATE INDEX ix_artifact_property_name ON artifact_property (name, custom, owner_id);
CREATE TABLE attribution (
  context_id INTEGER NOT NULL,
  artifact_id INTEGER NOT NULL,
  PRIMARY KEY (context_id, artifact_id),
  FOREIGN KEY(context_id) REFERENCES context (id),
  FOREIGN KEY(artifact_id) REFERENCES artifact (id)
);
CREATE INDEX ix_attribution_artifact ON attribution (artifact_id);
CREATE TABLE execution_property (
  owner_id INTEGER NOT NULL,
  custom BOOLEAN NOT NULL,
  name VARCHAR(255) NOT NULL,
  string_value TEXT,
  int_value INTEGER,
  double_value DOUBLE,
  bool_value BOOLEAN,
  PRIMARY KEY (owner_id, custom, name),
  FOREIGN KEY(owner_id) REFERENCES execution (id)
);
CREATE INDEX ix_execution_property_name ON execution_property (name, custom, owner_id);
