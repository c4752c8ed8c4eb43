BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
CREATE TABLE analyses (
	analysis_id VARCHAR(64) NOT NULL, 
	extraction_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	settings JSON NOT NULL, 
	extraction JSON NOT NULL, 
	pieces INTEGER NOT NULL, 
	manifest JSON, 
	state VARCHAR(16) NOT NULL, 
	error TEXT NOT NULL, 
	progress JSON NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, 
	paused DATETIME, 
	paused_s FLOAT NOT NULL, 
	PRIMARY KEY (analysis_id), 
	FOREIGN KEY(extraction_id) REFERENCES extractions (extraction_id)
);
INSERT INTO "analyses" VALUES('analysis-a945dc539df6','extraction-499844dddb9b','plan-done','dissection','{"kind": "dissection", "over": "outlined", "tail": 0.005, "replicates": 1000}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',3,'{"bucket": "activation-extraction", "key": "analyses/analysis-a945dc539df6/manifest-3357964361f9e1f4.json", "sha256": "3357964361f9e1f484308abdcfb805f1dca7aa5cf0a7eef18bc9d3254270522e", "size": 1004}','completed','','{"phase": "merging", "done": 2, "total": 2, "unit": "layers"}','2026-11-28 20:12:13.188414','2026-11-28 20:12:13.230481','2026-11-28 20:12:13.563657',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-3e3dc3ef5227','extraction-499844dddb9b','','influence','{"kind": "influence", "layers": [], "scale": null}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-3e3dc3ef5227/manifest-3b607ecd2c35f7f7.json", "sha256": "3b607ecd2c35f7f7cc5542e04569446dcd3e72a4c62e566e2d121e76376c165f", "size": 974}','completed','','{"phase": "merging", "done": 2, "total": 2, "unit": "layers"}','2026-11-28 20:12:25.813270','2026-11-28 20:12:25.830641','2026-11-28 20:12:26.077504',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-658b29085793','extraction-499844dddb9b','','gradient','{"layers": ["block3"], "patches": 0, "seed": 7, "kind": "gradient", "batch_size": 8}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',3,'{"bucket": "activation-extraction", "key": "analyses/analysis-658b29085793/manifest-81b2eff2d8615b5f.json", "sha256": "81b2eff2d8615b5f05df9304ca4040ce3936bece8bb6b0e5cd32656cc58c4e1e", "size": 754}','completed','','{"phase": "merging", "done": 1, "total": 1, "unit": "layers"}','2026-11-28 20:12:26.120150','2026-11-28 20:12:26.193786','2026-11-28 20:12:26.613669',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-fcedaade0258','extraction-499844dddb9b','','ablation','{"layers": ["block3"], "patches": 1000, "seed": 7, "kind": "ablation", "units": []}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',3,'{"bucket": "activation-extraction", "key": "analyses/analysis-fcedaade0258/manifest-a47fd72c75f78502.json", "sha256": "a47fd72c75f785025d6829df6c12973161c2297c123edc9927f4337f652a8207", "size": 753}','completed','','{"phase": "merging", "done": 1, "total": 1, "unit": "layers"}','2026-11-28 20:12:26.678339','2026-11-28 20:12:26.761572','2026-11-28 20:12:27.498097',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-55bcda677e38','extraction-499844dddb9b','','dissection','{"kind": "dissection", "over": "all", "tail": 0.005, "replicates": 1000}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',3,'{"bucket": "activation-extraction", "key": "analyses/analysis-55bcda677e38/manifest-16c515b5f4297ab9.json", "sha256": "16c515b5f4297ab9f8d0a3aa9fe7e65eb9991ff68963cfcaa54ce91aa3ca97df", "size": 999}','completed','','{"phase": "merging", "done": 2, "total": 2, "unit": "layers"}','2026-11-28 20:12:27.558404','2026-11-28 20:12:27.596964','2026-11-28 20:12:27.929127',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-1c0dd0e156e4','extraction-e33ee600b876','plan-without-rendering','dissection','{}','{"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/manifest-5708755e333be37a.json", "sha256": "5708755e333be37ac6c7fd2c768fcfa15726fd65547dd2ac9eb4fe53bbb3c073", "size": 2727}',0,NULL,'failed','object activation-extraction/extractions/extraction-e33ee600b876/manifest-5708755e333be37a.json has sha256 92e4100a67c46b65ef478fbdaa770d9ce207857e06b54e4abfc53df892df4c1c; expected 5708755e333be37ac6c7fd2c768fcfa15726fd65547dd2ac9eb4fe53bbb3c073','{}','2026-11-28 20:12:30.438635','2026-11-28 20:12:30.437946','2026-11-28 20:12:30.437946',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-43cbb345894c','extraction-8233822128f8','plan-without-study','dissection','{"kind": "dissection", "over": "outlined", "tail": 0.005, "replicates": 1000}','{"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/manifest-f69e973fa87a2953.json", "sha256": "f69e973fa87a2953935a8d7b2b470fe9e037c70b40faa37ee86dc0f66cbd4f42", "size": 2727}',2,'{"bucket": "activation-extraction", "key": "analyses/analysis-43cbb345894c/manifest-965a19293d9c1d2e.json", "sha256": "965a19293d9c1d2e8f8da8eb1d56f1c616b4611a5c028cd8c01fd662282cde58", "size": 740}','completed','','{"phase": "merging", "done": 1, "total": 1, "unit": "layers"}','2026-11-28 20:12:30.781434','2026-11-28 20:12:30.791023','2026-11-28 20:12:30.881778',NULL,0.0);
INSERT INTO "analyses" VALUES('analysis-776a132ad36a','extraction-499844dddb9b','','dissection','{"kind": "dissection", "over": "outlined", "tail": 0.01, "replicates": 1000}','{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}',3,NULL,'paused','','{"phase": "analysing", "done": 26.666666666666668, "total": 100, "unit": "percent"}','2026-11-28 20:12:46.572299','2026-11-28 20:12:46.602154',NULL,'2026-11-28 20:12:46.660538',0.0);
CREATE TABLE analysis_pieces (
	analysis_id VARCHAR(64) NOT NULL, 
	piece INTEGER NOT NULL, 
	state JSON NOT NULL, 
	PRIMARY KEY (analysis_id, piece), 
	FOREIGN KEY(analysis_id) REFERENCES analyses (analysis_id)
);
INSERT INTO "analysis_pieces" VALUES('analysis-a945dc539df6',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-a945dc539df6/pieces/00000-de9651910590a597.safetensors", "sha256": "de9651910590a597cf3fde85ac89d4e3ffa93b5f919fec65e1ead911ee7ca8cf", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-a945dc539df6',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-a945dc539df6/pieces/00001-8c8d6863a5c52260.safetensors", "sha256": "8c8d6863a5c52260005ab9b6f09dc70bebbce85fbb6b1aa2bc6ea0fbe061984a", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-a945dc539df6',2,'{"bucket": "activation-extraction", "key": "analyses/analysis-a945dc539df6/pieces/00002-7bf0ba2fb4d26a4a.safetensors", "sha256": "7bf0ba2fb4d26a4a19ff667b78d50b33576cbc37f6ea62863e7e7b8611efcac3", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-3e3dc3ef5227',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-3e3dc3ef5227/pieces/00000-12eaadb2166c0333.safetensors", "sha256": "12eaadb2166c03331a034c5435e6026a65eeefeefbf85dd056e6267231c177cc", "size": 4208}');
INSERT INTO "analysis_pieces" VALUES('analysis-658b29085793',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-658b29085793/pieces/00000-75a0997d99ad260f.safetensors", "sha256": "75a0997d99ad260f41981b6e81faaf667a33d935ee704aea17210e70a7abb0cc", "size": 2528}');
INSERT INTO "analysis_pieces" VALUES('analysis-658b29085793',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-658b29085793/pieces/00001-7147dff3331b044e.safetensors", "sha256": "7147dff3331b044e1a369c3f96cf6a731b8c16e22dd31a6920b3def3205fe72b", "size": 2528}');
INSERT INTO "analysis_pieces" VALUES('analysis-658b29085793',2,'{"bucket": "activation-extraction", "key": "analyses/analysis-658b29085793/pieces/00002-9710bd695cdc016f.safetensors", "sha256": "9710bd695cdc016f74d56c1b393d626c0d76aa8b55216abb12e32298f263d023", "size": 2528}');
INSERT INTO "analysis_pieces" VALUES('analysis-fcedaade0258',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-fcedaade0258/pieces/00000-6b37bd5288cea08d.safetensors", "sha256": "6b37bd5288cea08dac607e7d6ca06c9805100dd918a5c3e8fd91404458a6ff24", "size": 3124}');
INSERT INTO "analysis_pieces" VALUES('analysis-fcedaade0258',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-fcedaade0258/pieces/00001-35b364ffc2d5ab5a.safetensors", "sha256": "35b364ffc2d5ab5a98798a300e27f8feda41158cf546a69e247685c67abd054b", "size": 3124}');
INSERT INTO "analysis_pieces" VALUES('analysis-fcedaade0258',2,'{"bucket": "activation-extraction", "key": "analyses/analysis-fcedaade0258/pieces/00002-4078eea5c7a26b79.safetensors", "sha256": "4078eea5c7a26b79b13f445cf93056bb1543d0f851eb9f658c0eed071855a3f9", "size": 3124}');
INSERT INTO "analysis_pieces" VALUES('analysis-55bcda677e38',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-55bcda677e38/pieces/00000-de9651910590a597.safetensors", "sha256": "de9651910590a597cf3fde85ac89d4e3ffa93b5f919fec65e1ead911ee7ca8cf", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-55bcda677e38',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-55bcda677e38/pieces/00001-8c8d6863a5c52260.safetensors", "sha256": "8c8d6863a5c52260005ab9b6f09dc70bebbce85fbb6b1aa2bc6ea0fbe061984a", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-55bcda677e38',2,'{"bucket": "activation-extraction", "key": "analyses/analysis-55bcda677e38/pieces/00002-7bf0ba2fb4d26a4a.safetensors", "sha256": "7bf0ba2fb4d26a4a19ff667b78d50b33576cbc37f6ea62863e7e7b8611efcac3", "size": 6264}');
INSERT INTO "analysis_pieces" VALUES('analysis-43cbb345894c',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-43cbb345894c/pieces/00000-47072f8a3fe36d27.safetensors", "sha256": "47072f8a3fe36d277f052ed75fb12c232e8d3e60e9a3eb2d63631a7860cd524b", "size": 3816}');
INSERT INTO "analysis_pieces" VALUES('analysis-43cbb345894c',1,'{"bucket": "activation-extraction", "key": "analyses/analysis-43cbb345894c/pieces/00001-296254940a894188.safetensors", "sha256": "296254940a8941889a497c34abf5f97c78d0786d463ae72c67c285aabf14a814", "size": 1464}');
INSERT INTO "analysis_pieces" VALUES('analysis-776a132ad36a',0,'{"bucket": "activation-extraction", "key": "analyses/analysis-776a132ad36a/pieces/00000-f458dc4462d17dd6.safetensors", "sha256": "f458dc4462d17dd60394aefbc626c3debf7b0f86cc37a90cb7abc7e470f01245", "size": 6264}');
CREATE TABLE extractions (
	extraction_id VARCHAR(64) NOT NULL, 
	plan_id VARCHAR(64) NOT NULL, 
	"plan" JSON, 
	run_id VARCHAR(64) NOT NULL, 
	dataset JSON NOT NULL, 
	checkpoint JSON NOT NULL, 
	split VARCHAR(8) NOT NULL, 
	layers JSON NOT NULL, 
	top_k INTEGER NOT NULL, 
	batch_size INTEGER NOT NULL, 
	shards INTEGER NOT NULL, 
	patches INTEGER NOT NULL, 
	manifest JSON, 
	state VARCHAR(16) NOT NULL, 
	error TEXT NOT NULL, 
	progress JSON NOT NULL, 
	created DATETIME NOT NULL, 
	started DATETIME, 
	finished DATETIME, paused DATETIME, paused_s FLOAT DEFAULT '0' NOT NULL, 
	PRIMARY KEY (extraction_id)
);
INSERT INTO "extractions" VALUES('extraction-499844dddb9b','plan-done','{"plan_id": "plan-done", "extraction": {"split": "val", "layers": ["block2", "block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','run-499844dddb9b','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','val','["block2", "block3"]',2,4,3,15,'{"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/manifest-809b9abaeb446d0f.json", "sha256": "809b9abaeb446d0f9645e2ce05f224040ad18863cb9bdd25c93a76f4c6bfe5f1", "size": 5289}','completed','','{"phase": "merging", "done": 2, "total": 2, "unit": "layers"}','2026-11-28 20:12:00.390053','2026-11-28 20:12:00.437542','2026-11-28 20:12:13.170271',NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-0f9347937e8e','plan-without-extraction',NULL,'run-e9b0e3c8e557','{}','{}','test','["block3"]',2,4,0,0,NULL,'failed','object training/checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json has sha256 d450adc1f4ea79846d5dc8b64d712a8fd018202a08adfe8d39fb54898cd89cd0; expected 54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8','{}','2026-11-28 20:12:30.076236','2026-11-28 20:12:30.075602','2026-11-28 20:12:30.075602',NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-e33ee600b876','plan-without-rendering','{"plan_id": "plan-without-rendering", "extraction": {"split": "test", "layers": ["block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','run-e9b0e3c8e557','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','test','["block3"]',2,4,2,6,'{"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/manifest-5708755e333be37a.json", "sha256": "5708755e333be37ac6c7fd2c768fcfa15726fd65547dd2ac9eb4fe53bbb3c073", "size": 2727}','completed','','{"phase": "merging", "done": 1, "total": 1, "unit": "layers"}','2026-11-28 20:12:30.151156','2026-11-28 20:12:30.160273','2026-11-28 20:12:30.315534',NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-8233822128f8','plan-without-study','{"plan_id": "plan-without-study", "extraction": {"split": "test", "layers": ["block3"], "top_k": 2, "batch_size": 4, "analyses": ["dissection"]}, "rendering": {"size": 32, "kind": "overlay", "format": "jpeg"}, "study": {"title": "Gr\u00f6\u00dfe: a small study", "units_per_class": 4, "labels_shown": "after_answer"}}','run-e9b0e3c8e557','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','test','["block3"]',2,4,2,6,'{"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/manifest-f69e973fa87a2953.json", "sha256": "f69e973fa87a2953935a8d7b2b470fe9e037c70b40faa37ee86dc0f66cbd4f42", "size": 2727}','completed','','{"phase": "merging", "done": 1, "total": 1, "unit": "layers"}','2026-11-28 20:12:30.525582','2026-11-28 20:12:30.534753','2026-11-28 20:12:30.768626',NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-13616eff63f7','','null','run-e9b0e3c8e557','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','test','["block3"]',2,32,2,6,NULL,'cancelled','cancelled by a caller','{}','2026-11-28 20:12:31.812115','2026-11-28 20:12:31.827141','2026-11-28 20:12:31.827141',NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-cc045d2a9661','','null','run-499844dddb9b','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','val','["block2", "block3"]',2,4,3,15,NULL,'paused','','{"phase": "extracting", "done": 4, "total": 15, "unit": "patches"}','2026-11-28 20:12:40.981635','2026-11-28 20:12:40.997420',NULL,'2026-11-28 20:12:46.426627',0.0);
INSERT INTO "extractions" VALUES('extraction-07f7bd47861d','','null','run-499844dddb9b','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','val','["block2", "block3"]',2,4,3,15,NULL,'running','','{"phase": "extracting", "done": 4, "total": 15, "unit": "patches"}','2026-11-28 20:12:46.478747','2026-11-28 20:12:46.496529',NULL,NULL,0.0);
INSERT INTO "extractions" VALUES('extraction-076ebf9aff72','','null','run-499844dddb9b','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','test','["block3"]',2,4,2,6,NULL,'queued','','{}','2026-11-28 20:12:53.257754',NULL,NULL,NULL,0.0);
CREATE TABLE leases (
	name VARCHAR(300) NOT NULL, 
	holder VARCHAR(64) NOT NULL, 
	epoch INTEGER NOT NULL, 
	expires DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('extraction-499844dddb9b/0','5a17ddc6a223406db74ac696f6235408',1,'2026-11-28 20:12:12.767484');
INSERT INTO "leases" VALUES('extraction-499844dddb9b/1','ca58b8b0ab584fdba29909253a213a71',1,'2026-11-28 20:12:12.891518');
INSERT INTO "leases" VALUES('extraction-499844dddb9b/2','5c9b321d7c704b7bb98141002e01c811',1,'2026-11-28 20:12:13.003914');
INSERT INTO "leases" VALUES('extraction-499844dddb9b/merge','19d0d099ec2e45b4997298a760b015b4',1,'2026-11-28 20:12:13.172771');
INSERT INTO "leases" VALUES('analysis-a945dc539df6/0','622e947c85754e1eb526727b5135d183',1,'2026-11-28 20:12:13.312032');
INSERT INTO "leases" VALUES('analysis-a945dc539df6/1','4defd160df1f4ef6be0df99e2d4f0d64',1,'2026-11-28 20:12:13.404004');
INSERT INTO "leases" VALUES('analysis-a945dc539df6/2','e5980e7fe7294ea48383ccd27568aa5d',1,'2026-11-28 20:12:13.479793');
INSERT INTO "leases" VALUES('analysis-a945dc539df6/merge','ff53b2f0f87144e4a82a51aed0c8072e',1,'2026-11-28 20:12:13.579775');
INSERT INTO "leases" VALUES('analysis-3e3dc3ef5227/0','a3da4dafb0d643d2b0861a98a39644e5',1,'2026-11-28 20:12:26.023134');
INSERT INTO "leases" VALUES('analysis-3e3dc3ef5227/merge','f5341ba705534dafa4181ef89c6f7335',1,'2026-11-28 20:12:26.087921');
INSERT INTO "leases" VALUES('analysis-658b29085793/0','ee5a7ce48da7439fb9039919151ac61f',1,'2026-11-28 20:12:26.295990');
INSERT INTO "leases" VALUES('analysis-658b29085793/1','c6904d11a09b4a889ee83f57032710d4',1,'2026-11-28 20:12:26.423849');
INSERT INTO "leases" VALUES('analysis-658b29085793/2','92166ac57dc54ebb85c57090f4b0900a',1,'2026-11-28 20:12:26.559995');
INSERT INTO "leases" VALUES('analysis-658b29085793/merge','268e8c6cbdd04c2287aa55bfb92a0f96',1,'2026-11-28 20:12:26.628050');
INSERT INTO "leases" VALUES('analysis-fcedaade0258/0','04327a0c42e743a0a6254136f6b84d6c',1,'2026-11-28 20:12:27.036966');
INSERT INTO "leases" VALUES('analysis-fcedaade0258/1','c9a9443e8055424d9aaf0d4aeca98aae',1,'2026-11-28 20:12:27.147704');
INSERT INTO "leases" VALUES('analysis-fcedaade0258/2','38d2044e37ac4951994bb0b6197dfe02',1,'2026-11-28 20:12:27.404033');
INSERT INTO "leases" VALUES('analysis-fcedaade0258/merge','7ac0b830f91e442687c9b2910570a701',1,'2026-11-28 20:12:27.512054');
INSERT INTO "leases" VALUES('analysis-55bcda677e38/0','88ef28b4ea3a44aa87086dcb7beee4ca',1,'2026-11-28 20:12:27.691934');
INSERT INTO "leases" VALUES('analysis-55bcda677e38/1','360579957d2d4843a6d51f8f9221ba03',1,'2026-11-28 20:12:27.783778');
INSERT INTO "leases" VALUES('analysis-55bcda677e38/2','c80def3d8b4245da91be8465e92ff799',1,'2026-11-28 20:12:27.875960');
INSERT INTO "leases" VALUES('analysis-55bcda677e38/merge','229e101812354561b76345c6533ed7bb',1,'2026-11-28 20:12:27.935917');
INSERT INTO "leases" VALUES('extraction-e33ee600b876/0','069139b80e234803987cc3921144df4b',1,'2026-11-28 20:12:30.219616');
INSERT INTO "leases" VALUES('extraction-e33ee600b876/1','018fffcaca764e01aa7ba61a2bb5b970',1,'2026-11-28 20:12:30.260698');
INSERT INTO "leases" VALUES('extraction-e33ee600b876/merge','0ac45346075a448eb146bbef4f34f0f1',1,'2026-11-28 20:12:30.317230');
INSERT INTO "leases" VALUES('extraction-8233822128f8/0','874eaa9c1f544ee1ac71d19aec8fbc31',1,'2026-11-28 20:12:30.587060');
INSERT INTO "leases" VALUES('extraction-8233822128f8/1','32e1109844c648879f3effc1a66021a0',1,'2026-11-28 20:12:30.667361');
INSERT INTO "leases" VALUES('extraction-8233822128f8/merge','03b9c226d6984a2a89918c548617c48c',1,'2026-11-28 20:12:30.770849');
INSERT INTO "leases" VALUES('analysis-43cbb345894c/0','bf20382cd8ec426f92c8b0c3a695d672',1,'2026-11-28 20:12:30.828291');
INSERT INTO "leases" VALUES('analysis-43cbb345894c/1','eeed6ff7b6654f0d9ffcfa789808f821',1,'2026-11-28 20:12:30.857701');
INSERT INTO "leases" VALUES('analysis-43cbb345894c/merge','ffb60de2e602458d8ca9bec2a2db7c28',1,'2026-11-28 20:12:30.883983');
INSERT INTO "leases" VALUES('extraction-cc045d2a9661/0','3fb44c4349ea4e2c907941a8b41678f5',1,'2026-11-28 20:12:46.420202');
INSERT INTO "leases" VALUES('extraction-07f7bd47861d/0','00de12577e674cca8e0576f68f1ad7ef',1,'2026-11-28 20:12:46.551676');
INSERT INTO "leases" VALUES('analysis-776a132ad36a/0','568935b51d3a46ed9837c8f382f64122',1,'2026-11-28 20:12:46.653126');
CREATE TABLE networks (
	run_id VARCHAR(64) NOT NULL, 
	dataset JSON NOT NULL, 
	checkpoint JSON NOT NULL, 
	told DATETIME NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "networks" VALUES('run-499844dddb9b','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-499844dddb9b/checkpoint-1b2b9490eadb/checkpoint-b2e7a4c7b21d95c9.json", "sha256": "b2e7a4c7b21d95c976baafee755d189d6a974dc672648bf29de64673bad2a4d6", "size": 3561}','2026-11-28 20:12:00.329476');
INSERT INTO "networks" VALUES('run-e9b0e3c8e557','{"bucket": "training", "key": "datasets/dataset-f011b9ee2ba7/manifest-6e9db4fad0d9ad3c.json", "sha256": "6e9db4fad0d9ad3c646d730bc3ca4be29c2c6b4f12634ce78177c37f5fcea0f9", "size": 3259}','{"bucket": "training", "key": "checkpoints/run-e9b0e3c8e557/checkpoint-54a37c30a50ced4c.json", "sha256": "54a37c30a50ced4ce76a28d12a73396bf0ff6d708873d30b01bf16617aa33ef8", "size": 1389}','2026-11-28 20:12:30.027911');
CREATE TABLE outbox (
	position INTEGER NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	type VARCHAR(200) NOT NULL, 
	body TEXT NOT NULL, 
	queue VARCHAR(200), traceparent VARCHAR(64) DEFAULT '' NOT NULL, created DATETIME, 
	PRIMARY KEY (position), 
	UNIQUE (message_id)
);
INSERT INTO "outbox" VALUES(1,'19872020c0404ca1a9962bd3a0821465','primitives.activation_extraction.v1.ExtractShard','{"extraction_id": "extraction-076ebf9aff72"}','activation_extraction.jobs','00-83a20c08bd817fe069abd0c3b7f89b25-7fd29b2193928c73-00','2026-11-28 20:12:53.258554');
INSERT INTO "outbox" VALUES(2,'ccdf3e7501394115b17575e9daf5a965','primitives.activation_extraction.v1.ExtractShard','{"extraction_id": "extraction-076ebf9aff72", "shard": 1}','activation_extraction.jobs','00-83a20c08bd817fe069abd0c3b7f89b25-7fd29b2193928c73-00','2026-11-28 20:12:53.259081');
CREATE TABLE shards (
	extraction_id VARCHAR(64) NOT NULL, 
	shard INTEGER NOT NULL, 
	patches INTEGER NOT NULL, 
	state JSON NOT NULL, 
	PRIMARY KEY (extraction_id, shard), 
	FOREIGN KEY(extraction_id) REFERENCES extractions (extraction_id)
);
INSERT INTO "shards" VALUES('extraction-499844dddb9b',0,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00000-9e39e2e54632ec9b.safetensors", "sha256": "9e39e2e54632ec9be800eceacf3125ab7c0fd6af4fe10d57bd2120d2938d2479", "size": 1356312}, "maxima": {"block2": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00000/block2/maxima-2308dd8a07418533.safetensors", "sha256": "2308dd8a074185338145f16db7332d2ef481547d457c843617fb00014fb82914", "size": 496}, "block3": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00000/block3/maxima-1a5db213b04b937c.safetensors", "sha256": "1a5db213b04b937c3a3c18d6012f90ce0513507f9735cb08ee9e9ac92a076874", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-499844dddb9b',1,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00001-081167094d9f3efe.safetensors", "sha256": "081167094d9f3efe001b283f7a73a312a277f5cd0c412aa7b78b8e390f7f4b95", "size": 1356312}, "maxima": {"block2": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00001/block2/maxima-25ec891c3fd5da93.safetensors", "sha256": "25ec891c3fd5da93acb72310e456b916d8586815a7deb168e818e78f10dba7d7", "size": 496}, "block3": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00001/block3/maxima-83dbafa5a6409937.safetensors", "sha256": "83dbafa5a6409937082a32ad154782da41948131d81a0715a8bb1b9591504536", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-499844dddb9b',2,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00002-8326bdbec90aa427.safetensors", "sha256": "8326bdbec90aa42747ca773937e159377874a131ae89df5fd15498c4d804ca30", "size": 1356312}, "maxima": {"block2": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00002/block2/maxima-403b81d31c12b55f.safetensors", "sha256": "403b81d31c12b55f08f65231c05ea0206860506001eab5a0ec2df314de27ff70", "size": 496}, "block3": {"bucket": "activation-extraction", "key": "extractions/extraction-499844dddb9b/shards/00002/block3/maxima-f4a0b88a53e3dbc9.safetensors", "sha256": "f4a0b88a53e3dbc92965405535ade3f8cd7a31ebc8f35fcf4c2c28f6c76c790d", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-e33ee600b876',0,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/shards/00000-171d56046664321a.safetensors", "sha256": "171d56046664321a794abde36897eae9b4d2608e66bca9013706a04b8eec2e17", "size": 800744}, "maxima": {"block3": {"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/shards/00000/block3/maxima-776fdc9311a6688a.safetensors", "sha256": "776fdc9311a6688a34546ca8d674a621434709a19ec5d3b42f9ff5a1a1ea0507", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-e33ee600b876',1,1,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/shards/00001-6ac61ccdaef4f7ab.safetensors", "sha256": "6ac61ccdaef4f7abfffed4665ef04148de354062da5bbbc63ef865fcc3cea3c5", "size": 791296}, "maxima": {"block3": {"bucket": "activation-extraction", "key": "extractions/extraction-e33ee600b876/shards/00001/block3/maxima-6381a59675ff7a3c.safetensors", "sha256": "6381a59675ff7a3c9e88be80417e6ad94fa4e160abca9bfbaaa8777262902ef6", "size": 232}}}');
INSERT INTO "shards" VALUES('extraction-8233822128f8',0,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/shards/00000-171d56046664321a.safetensors", "sha256": "171d56046664321a794abde36897eae9b4d2608e66bca9013706a04b8eec2e17", "size": 800744}, "maxima": {"block3": {"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/shards/00000/block3/maxima-776fdc9311a6688a.safetensors", "sha256": "776fdc9311a6688a34546ca8d674a621434709a19ec5d3b42f9ff5a1a1ea0507", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-8233822128f8',1,1,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/shards/00001-6ac61ccdaef4f7ab.safetensors", "sha256": "6ac61ccdaef4f7abfffed4665ef04148de354062da5bbbc63ef865fcc3cea3c5", "size": 791296}, "maxima": {"block3": {"bucket": "activation-extraction", "key": "extractions/extraction-8233822128f8/shards/00001/block3/maxima-6381a59675ff7a3c.safetensors", "sha256": "6381a59675ff7a3c9e88be80417e6ad94fa4e160abca9bfbaaa8777262902ef6", "size": 232}}}');
INSERT INTO "shards" VALUES('extraction-cc045d2a9661',0,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-cc045d2a9661/shards/00000-9e39e2e54632ec9b.safetensors", "sha256": "9e39e2e54632ec9be800eceacf3125ab7c0fd6af4fe10d57bd2120d2938d2479", "size": 1356312}, "maxima": {"block2": {"bucket": "activation-extraction", "key": "extractions/extraction-cc045d2a9661/shards/00000/block2/maxima-2308dd8a07418533.safetensors", "sha256": "2308dd8a074185338145f16db7332d2ef481547d457c843617fb00014fb82914", "size": 496}, "block3": {"bucket": "activation-extraction", "key": "extractions/extraction-cc045d2a9661/shards/00000/block3/maxima-1a5db213b04b937c.safetensors", "sha256": "1a5db213b04b937c3a3c18d6012f90ce0513507f9735cb08ee9e9ac92a076874", "size": 656}}}');
INSERT INTO "shards" VALUES('extraction-07f7bd47861d',0,5,'{"state": {"bucket": "activation-extraction", "key": "extractions/extraction-07f7bd47861d/shards/00000-9e39e2e54632ec9b.safetensors", "sha256": "9e39e2e54632ec9be800eceacf3125ab7c0fd6af4fe10d57bd2120d2938d2479", "size": 1356312}, "maxima": {"block2": {"bucket": "activation-extraction", "key": "extractions/extraction-07f7bd47861d/shards/00000/block2/maxima-2308dd8a07418533.safetensors", "sha256": "2308dd8a074185338145f16db7332d2ef481547d457c843617fb00014fb82914", "size": 496}, "block3": {"bucket": "activation-extraction", "key": "extractions/extraction-07f7bd47861d/shards/00000/block3/maxima-1a5db213b04b937c.safetensors", "sha256": "1a5db213b04b937c3a3c18d6012f90ce0513507f9735cb08ee9e9ac92a076874", "size": 656}}}');
CREATE INDEX ix_extractions_plan_id ON extractions (plan_id);
CREATE INDEX ix_analyses_extraction_id ON analyses (extraction_id);
CREATE INDEX ix_analyses_plan_id ON analyses (plan_id);
COMMIT;
