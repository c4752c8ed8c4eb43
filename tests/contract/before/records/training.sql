BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE builds (
	build_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(64) NOT NULL, 
	dataset_id VARCHAR(64), 
	state VARCHAR(16) NOT NULL, 
	error TEXT NOT NULL, 
	progress JSON NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, paused DATETIME, paused_s FLOAT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (build_id), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (dataset_id)
);
INSERT INTO "builds" VALUES('build-6e7f1b30966d','plan-of-the-sample',NULL,'paused','','{}','2026-11-28 20:12:53.054565',NULL,NULL,'2026-11-28 20:12:53.065342',0.0);
CREATE TABLE comparisons (
	comparison_id VARCHAR(64) NOT NULL, 
	evaluation_a VARCHAR(64) NOT NULL, 
	evaluation_b VARCHAR(64) NOT NULL, 
	result JSON NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (comparison_id), 
	FOREIGN KEY(evaluation_a) REFERENCES evaluations (evaluation_id), 
	FOREIGN KEY(evaluation_b) REFERENCES evaluations (evaluation_id)
);
INSERT INTO "comparisons" VALUES('comparison-2e1febf69d1a','evaluation-1d104568b302','evaluation-ea5794d64549','{"comparison_id": "comparison-2e1febf69d1a", "evaluation_a": "evaluation-1d104568b302", "evaluation_b": "evaluation-ea5794d64549", "dataset_id": "dataset-f011b9ee2ba7", "split": "val", "patches": 15, "patients": 3, "settings": {"replicates": 1000, "seed": 7}, "classes": [{"name": "normal", "a": 0.15999999999999998, "b": 0.22000000000000003, "difference": {"value": -0.06000000000000005, "low": -0.2727272727272727, "high": 0.031746031746031744, "replicates": 976, "reason": ""}, "delong": {"low": -0.199816869904009, "high": 0.07981686990400894, "standard_error": 0.07133644853010902, "z": -0.8410847643287959, "p": 0.4003004497272451, "reason": ""}, "clustered": {"low": -0.24941812317010004, "high": 0.12941812317009999, "standard_error": 0.09664367542679662, "z": -0.6208373153755665, "p": 0.5347066684838493, "reason": ""}, "reason": ""}, {"name": "benign", "a": 0.32, "b": 0.44, "difference": {"value": -0.12, "low": -0.25, "high": 0.1111111111111111, "replicates": 959, "reason": ""}, "delong": {"low": -0.3378608681554931, "high": 0.09786086815549319, "standard_error": 0.11115554667022041, "z": -1.0795682590273206, "p": 0.2803344822776592, "reason": ""}, "clustered": {"low": -0.33909557143720126, "high": 0.09909557143720135, "standard_error": 0.11178550889985694, "z": -1.0734844004467694, "p": 0.283053834103969, "reason": ""}, "reason": ""}, {"name": "cancer", "a": 0.16000000000000003, "b": 0.54, "difference": {"value": -0.38, "low": -0.45, "high": -0.33333333333333326, "replicates": 966, "reason": ""}, "delong": {"low": -0.749689827105291, "high": -0.010310172894709091, "standard_error": 0.18862072467726815, "z": -2.0146248544542686, "p": 0.043943971233421704, "reason": ""}, "clustered": {"low": -0.46938811077007836, "high": -0.29061188922992176, "standard_error": 0.04560701700396556, "z": -8.332051183416771, "p": 7.945358237059814e-17, "reason": ""}, "reason": ""}], "macro": {"name": "macro", "a": 0.21333333333333335, "b": 0.4000000000000001, "difference": {"value": -0.18666666666666673, "low": -0.27344877344877344, "high": -0.12782587782587784, "replicates": 901, "reason": ""}, "delong": {"low": null, "high": null, "standard_error": null, "z": null, "p": null, "reason": "the test is of one AUC; the interval of the difference is of drawn patients"}, "clustered": {"low": null, "high": null, "standard_error": null, "z": null, "p": null, "reason": "the test is of one AUC; the interval of the difference is of drawn patients"}, "reason": ""}, "micro": {"name": "micro", "a": 0.40444444444444444, "b": 0.4666666666666667, "difference": {"value": -0.062222222222222234, "low": -0.08284023668639051, "high": 0.01388888888888884, "replicates": 1000, "reason": ""}, "delong": {"low": null, "high": null, "standard_error": null, "z": null, "p": null, "reason": "the test is of one AUC; the interval of the difference is of drawn patients"}, "clustered": {"low": null, "high": null, "standard_error": null, "z": null, "p": null, "reason": "the test is of one AUC; the interval of the difference is of drawn patients"}, "reason": ""}, "created": "2026-11-28T20:12:28.795576+00:00"}','2026-11-28 20:12:28.797430');
CREATE TABLE datasets (
	dataset_id VARCHAR(64) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	classes JSON NOT NULL, 
	splits JSON NOT NULL, 
	mammograms INTEGER NOT NULL, 
	manifest JSON NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (dataset_id)
);
INSERT INTO "datasets" VALUES('dataset-f011b9ee2ba7','data','["normal", "benign", "cancer"]','{"train": 12, "val": 15, "test": 6}',9,'{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','2026-11-28 20:11:50.148910');
CREATE TABLE evaluations (
	evaluation_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(64) NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	dataset_id VARCHAR(64) NOT NULL, 
	checkpoint JSON NOT NULL, 
	split VARCHAR(8) NOT NULL, 
	settings JSON NOT NULL, 
	manifest JSON, 
	state VARCHAR(16) NOT NULL, 
	error TEXT NOT NULL, 
	progress JSON NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, 
	paused DATETIME, 
	paused_s FLOAT NOT NULL, 
	PRIMARY KEY (evaluation_id), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (dataset_id)
);
INSERT INTO "evaluations" VALUES('evaluation-1d104568b302','','run-499844dddb9b','dataset-f011b9ee2ba7','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','val','{"replicates": 20, "seed": 7, "specificities": [0.8, 0.9, 0.95], "calibration_bins": 10, "batch_size": 32}','{"bucket": "training", "key": "evaluations/evaluation-1d104568b302/manifest-5dbf813e2e36b60b.json", "sha256": "5dbf813e2e36b60bc007e3e3eb9fd3b4cc32872e1507d6a57758054537e7cda4", "size": 2294}','completed','','{"phase": "predicting", "done": 15, "total": 15, "unit": "patches"}','2026-11-28 20:12:28.013380','2026-11-28 20:12:28.057827','2026-11-28 20:12:28.297852',NULL,0.0);
INSERT INTO "evaluations" VALUES('evaluation-ea5794d64549','','run-499844dddb9b','dataset-f011b9ee2ba7','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1a8c43a3f5c9/checkpoint-6128b49fada0c9b3.json", "sha256": "6128b49fada0c9b328d53db3560bd28d2e2ba1753819f27670895f04e882e16c", "size": 2946}','val','{"replicates": 20, "seed": 7, "specificities": [0.8, 0.9, 0.95], "calibration_bins": 10, "batch_size": 32}','{"bucket": "training", "key": "evaluations/evaluation-ea5794d64549/manifest-ff044740936f3df0.json", "sha256": "ff044740936f3df091361bb056daa4e5808eb79da0bf4ec8b9d51410c3504dbb", "size": 2294}','completed','','{"phase": "predicting", "done": 15, "total": 15, "unit": "patches"}','2026-11-28 20:12:28.326081','2026-11-28 20:12:28.368852','2026-11-28 20:12:28.505327',NULL,0.0);
INSERT INTO "evaluations" VALUES('evaluation-2d39f14732aa','','run-499844dddb9b','dataset-f011b9ee2ba7','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','test','{"replicates": 20, "seed": 7, "specificities": [0.8, 0.9, 0.95], "calibration_bins": 10, "batch_size": 32}','{"bucket": "training", "key": "evaluations/evaluation-2d39f14732aa/manifest-5e0a05a579f476e5.json", "sha256": "5e0a05a579f476e59b0023e13bd939c6ced13c6ea1f5f41d2f2d1542d54d0446", "size": 2295}','completed','','{"phase": "predicting", "done": 6, "total": 6, "unit": "patches"}','2026-11-28 20:12:28.548030','2026-11-28 20:12:28.589031','2026-11-28 20:12:28.733346',NULL,0.0);
INSERT INTO "evaluations" VALUES('evaluation-8832a3ba2c40','','run-499844dddb9b','dataset-f011b9ee2ba7','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','val','{"replicates": 10, "seed": 7, "specificities": [0.8, 0.9, 0.95], "calibration_bins": 10, "batch_size": 32}',NULL,'paused','','{}','2026-11-28 20:12:52.701341',NULL,NULL,'2026-11-28 20:12:52.710569',0.0);
INSERT INTO "evaluations" VALUES('evaluation-fe3208ce7e85','','run-499844dddb9b','dataset-f011b9ee2ba7','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','test','{"replicates": 10, "seed": 7, "specificities": [0.8, 0.9, 0.95], "calibration_bins": 10, "batch_size": 32}',NULL,'queued','','{}','2026-11-28 20:12:53.200673',NULL,NULL,NULL,0.0);
CREATE TABLE leases (
	name VARCHAR(300) NOT NULL, 
	holder VARCHAR(64) NOT NULL, 
	epoch INTEGER NOT NULL, 
	expires DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('run-499844dddb9b','8761fa3d05414decbfc71300018ddf1e',1,'2026-11-28 20:12:00.299832');
INSERT INTO "leases" VALUES('evaluation-1d104568b302','810d535dd4fa4e75a8c771d3f742aebc',1,'2026-11-28 20:12:28.301478');
INSERT INTO "leases" VALUES('evaluation-ea5794d64549','796546b7435b414b8349479a13a06235',1,'2026-11-28 20:12:28.507845');
INSERT INTO "leases" VALUES('evaluation-2d39f14732aa','a0b3cfca83c247069731b14585abc4c6',1,'2026-11-28 20:12:28.735123');
INSERT INTO "leases" VALUES('run-e1577cd431a0','7919c276c02944a5885d0b33b79d42fa',1,'2026-11-28 20:12:40.930244');
CREATE TABLE outbox (
	position INTEGER NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	type VARCHAR(200) NOT NULL, 
	body TEXT NOT NULL, 
	queue VARCHAR(200), traceparent VARCHAR(64) DEFAULT '' NOT NULL, created DATETIME, 
	PRIMARY KEY (position), 
	UNIQUE (message_id)
);
INSERT INTO "outbox" VALUES(1,'23d0766d6eb843dcb1261d6e869ac7a1','primitives.training.v1.EvaluateCheckpoint','{"evaluation_id": "evaluation-fe3208ce7e85"}','training.jobs','00-abc68300de1a4a46108ddc5d55a03b31-1d37ab25dafd1308-00','2026-11-28 20:12:53.201142');
CREATE TABLE plans (
	plan_id VARCHAR(64) NOT NULL, 
	request JSON NOT NULL, 
	created DATETIME NOT NULL, 
	PRIMARY KEY (plan_id)
);
INSERT INTO "plans" VALUES('plan-done','{"plan_id": "plan-done", "dataset": {"dataset_id": "dataset-f011b9ee2ba7"}, "network": {"train": {"architecture": "test_efficientnet", "weights": "none", "image_size": 64, "channels": 3, "epochs": 2, "batch_size": 4, "accumulate_steps": 1, "clip_norm": 0.0, "precision": "fp32", "compile": false, "optimizer": "sgd", "learning_rate": 1e-09, "momentum": 0.0, "weight_decay": 0.01, "schedule": "cosine", "decay_epochs": [], "warmup_steps": 0, "balance": "none", "flips": true, "rotation": 0.0, "contrast": 0.0, "brightness": 0.0, "patience": 0, "min_delta": 0.0, "keep": "last", "seed": 7, "semantics": "current", "checkpoint_epochs": 1}, "run_id": "", "checkpoint": ""}, "extraction": {"split": "val", "layers": ["block2", "block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','2026-11-28 20:11:50.448760');
INSERT INTO "plans" VALUES('plan-without-extraction','{"plan_id": "plan-without-extraction", "dataset": {"dataset_id": "dataset-f011b9ee2ba7"}, "network": {"train": null, "run_id": "run-e9b0e3c8e557", "checkpoint": ""}, "extraction": {"split": "test", "layers": ["block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','2026-11-28 20:12:30.064026');
INSERT INTO "plans" VALUES('plan-without-rendering','{"plan_id": "plan-without-rendering", "dataset": {"dataset_id": "dataset-f011b9ee2ba7"}, "network": {"train": null, "run_id": "run-e9b0e3c8e557", "checkpoint": ""}, "extraction": {"split": "test", "layers": ["block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','2026-11-28 20:12:30.111425');
INSERT INTO "plans" VALUES('plan-without-study','{"plan_id": "plan-without-study", "dataset": {"dataset_id": "dataset-f011b9ee2ba7"}, "network": {"train": null, "run_id": "run-e9b0e3c8e557", "checkpoint": ""}, "extraction": {"split": "test", "layers": ["block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','2026-11-28 20:12:30.487169');
INSERT INTO "plans" VALUES('plan-of-the-sample','{"plan_id": "plan-of-the-sample", "dataset": {"dataset_id": ""}, "network": {"train": null, "run_id": "", "checkpoint": ""}, "extraction": {"split": "val", "layers": [], "top_k": 64, "batch_size": 32, "analyses": []}, "rendering": {"size": 227, "kind": "overlay", "format": "jpeg"}, "study": {"title": "", "units_per_class": 20, "labels_shown": "after_answer"}}','2026-11-28 20:12:53.055024');
CREATE TABLE runs (
	run_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(64) NOT NULL, 
	dataset_id VARCHAR(64) NOT NULL, 
	settings JSON NOT NULL, 
	slices INTEGER NOT NULL, 
	epochs JSON NOT NULL, 
	checkpoint JSON, 
	state VARCHAR(16) NOT NULL, 
	error TEXT NOT NULL, 
	progress JSON NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, paused DATETIME, paused_s FLOAT DEFAULT '0' NOT NULL, best_checkpoint JSON, last_checkpoint JSON, checkpoints JSON DEFAULT '[]' NOT NULL, 
	PRIMARY KEY (run_id), 
	FOREIGN KEY(dataset_id) REFERENCES datasets (dataset_id)
);
INSERT INTO "runs" VALUES('run-499844dddb9b','plan-done','dataset-f011b9ee2ba7','{"architecture": "test_efficientnet", "weights": "none", "image_size": 64, "channels": 3, "epochs": 2, "batch_size": 4, "accumulate_steps": 1, "clip_norm": 0.0, "precision": "fp32", "compile": false, "optimizer": "sgd", "learning_rate": 1e-09, "momentum": 0.0, "weight_decay": 0.01, "schedule": "cosine", "decay_epochs": [], "warmup_steps": 0, "balance": "none", "flips": true, "rotation": 0.0, "contrast": 0.0, "brightness": 0.0, "patience": 0, "min_delta": 0.0, "keep": "last", "seed": 7, "semantics": "current", "checkpoint_epochs": 1}',1,'[{"epoch": 1, "learning_rate": 7.500000000000001e-10, "train_loss": 3.350255827109019, "train_accuracy": 0.0833333358168602, "train_auc": 0.21875, "val_loss": 1.1189661542574565, "val_accuracy": 0.3333333432674408, "val_auc": 0.4000000000000001, "val_auc_by_class": [0.22000000000000003, 0.44, 0.54], "seconds": 0.231}, {"epoch": 2, "learning_rate": 6.698729810778065e-11, "train_loss": 2.85986663463215, "train_accuracy": 0.1666666716337204, "train_auc": 0.3333333333333333, "val_loss": 1.1649030725161234, "val_accuracy": 0.3333333432674408, "val_auc": 0.21333333333333335, "val_auc_by_class": [0.15999999999999998, 0.32, 0.16000000000000003], "seconds": 0.172}]','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','completed','','{"phase": "epoch 1 of 2", "done": 1, "total": 6, "unit": "steps", "images": 4}','2026-11-28 20:11:50.452381','2026-11-28 20:11:50.481068','2026-11-28 20:12:00.289071',NULL,0.0,'{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1a8c43a3f5c9/checkpoint-6128b49fada0c9b3.json", "sha256": "6128b49fada0c9b328d53db3560bd28d2e2ba1753819f27670895f04e882e16c", "size": 2946}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','[{"epoch": 1, "checkpoint": {"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1a8c43a3f5c9/checkpoint-6128b49fada0c9b3.json", "sha256": "6128b49fada0c9b328d53db3560bd28d2e2ba1753819f27670895f04e882e16c", "size": 2946}}, {"epoch": 2, "checkpoint": {"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}}]');
INSERT INTO "runs" VALUES('run-e9b0e3c8e557','','dataset-f011b9ee2ba7','{"architecture": "test_efficientnet", "weights": "none", "image_size": 64, "channels": 3, "epochs": 4, "batch_size": 32, "accumulate_steps": 1, "clip_norm": 0.0, "precision": "fp32", "compile": false, "optimizer": "adamw", "learning_rate": 0.001, "momentum": 0.9, "weight_decay": 0.01, "schedule": "cosine", "decay_epochs": [], "warmup_steps": 25, "balance": "none", "flips": true, "rotation": 0.0, "contrast": 0.0, "brightness": 0.0, "patience": 0, "min_delta": 0.0, "keep": "best", "seed": 7, "semantics": "current", "checkpoint_epochs": 0}',0,'[]','{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','completed','','{}','2026-11-28 20:12:30.011736','2026-11-28 20:12:30.010319','2026-11-28 20:12:30.010319',NULL,0.0,NULL,'{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','[]');
INSERT INTO "runs" VALUES('run-21778a1c5e97','','dataset-f011b9ee2ba7','{"architecture": "test_efficientnet", "weights": "none", "image_size": 64, "channels": 3, "epochs": 2, "batch_size": 4, "accumulate_steps": 1, "clip_norm": 0.0, "precision": "fp32", "compile": false, "optimizer": "sgd", "learning_rate": 1e-09, "momentum": 0.0, "weight_decay": 0.01, "schedule": "cosine", "decay_epochs": [], "warmup_steps": 0, "balance": "none", "flips": true, "rotation": 0.0, "contrast": 0.0, "brightness": 0.0, "patience": 0, "min_delta": 0.0, "keep": "last", "seed": 7, "semantics": "current", "checkpoint_epochs": 1}',0,'[]',NULL,'cancelled','cancelled by a caller','{}','2026-11-28 20:12:31.886623','2026-11-28 20:12:31.896000','2026-11-28 20:12:31.896000',NULL,0.0,NULL,NULL,'[]');
INSERT INTO "runs" VALUES('run-e1577cd431a0','','dataset-f011b9ee2ba7','{"architecture": "test_efficientnet", "weights": "none", "image_size": 64, "channels": 3, "epochs": 14, "batch_size": 4, "accumulate_steps": 1, "clip_norm": 0.0, "precision": "fp32", "compile": false, "optimizer": "sgd", "learning_rate": 1e-09, "momentum": 0.0, "weight_decay": 0.01, "schedule": "cosine", "decay_epochs": [], "warmup_steps": 0, "balance": "none", "flips": true, "rotation": 0.0, "contrast": 0.0, "brightness": 0.0, "patience": 0, "min_delta": 0.0, "keep": "last", "seed": 7, "semantics": "current", "checkpoint_epochs": 0}',1,'[{"epoch": 1, "learning_rate": 9.944154131125642e-10, "train_loss": 3.3502557228008905, "train_accuracy": 0.0833333358168602, "train_auc": 0.21875, "val_loss": 1.1189661383628846, "val_accuracy": 0.3333333432674408, "val_auc": 0.4000000000000001, "val_auc_by_class": [0.22000000000000003, 0.44, 0.54], "seconds": 0.064}, {"epoch": 2, "learning_rate": 9.65436874322102e-10, "train_loss": 2.8598669338971376, "train_accuracy": 0.1666666716337204, "train_auc": 0.3333333333333333, "val_loss": 1.1649030168851218, "val_accuracy": 0.3333333432674408, "val_auc": 0.21333333333333335, "val_auc_by_class": [0.15999999999999998, 0.32, 0.16000000000000003], "seconds": 0.048}, {"epoch": 3, "learning_rate": 9.131193871579975e-10, "train_loss": 2.5418183679382005, "train_accuracy": 0.1666666716337204, "train_auc": 0.34375, "val_loss": 1.2187394579251607, "val_accuracy": 0.3333333432674408, "val_auc": 0.12, "val_auc_by_class": [0.09999999999999998, 0.26, 0.0], "seconds": 0.045}, {"epoch": 4, "learning_rate": 8.400863688854596e-10, "train_loss": 2.6995598445646465, "train_accuracy": 0.1666666716337204, "train_auc": 0.34375, "val_loss": 1.2866875211397806, "val_accuracy": 0.3333333432674408, "val_auc": 0.15333333333333332, "val_auc_by_class": [0.13999999999999996, 0.32, 0.0], "seconds": 0.043}]','{"bucket": "training", "key": "checkpoints/run-e1577cd431a0/checkpoint-d06a3d0ddcd1/checkpoint-f8a709d2d53c0279.json", "sha256": "f8a709d2d53c0279b33639a2b813aca73e21c9df4e55edcddd5cfb8c26ade323", "size": 4313}','paused','','{"phase": "epoch 1 of 14", "done": 1, "total": 42, "unit": "steps", "images": 4}','2026-11-28 20:12:33.674208','2026-11-28 20:12:33.692526',NULL,'2026-11-28 20:12:40.939535',0.0,'{"bucket": "training", "key": "checkpoints/run-e1577cd431a0/checkpoint-3717c7fb5664/checkpoint-d1e89248415e00a2.json", "sha256": "d1e89248415e00a21c02d1513d6ea311a9302ddada7cc96e1bb4f8337833e1f7", "size": 2948}','{"bucket": "training", "key": "checkpoints/run-e1577cd431a0/checkpoint-d06a3d0ddcd1/checkpoint-f8a709d2d53c0279.json", "sha256": "f8a709d2d53c0279b33639a2b813aca73e21c9df4e55edcddd5cfb8c26ade323", "size": 4313}','[]');
CREATE INDEX ix_builds_plan_id ON builds (plan_id);
CREATE INDEX ix_runs_plan_id ON runs (plan_id);
CREATE INDEX ix_evaluations_plan_id ON evaluations (plan_id);
COMMIT;
