import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.analysis.core.WhitespaceAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.FeatureField;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.FieldType;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexOptions;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.search.similarities.BooleanSimilarity;
import org.apache.lucene.store.ByteBuffersDirectory;

/**
 * Scores codes with Lucene as the mappings of Elasticsearch (a text field with boolean similarity, without norms, documents only) and of
 * OpenSearch (rank_features, asked by linear feature queries) make it do.
 *
 * Standard input: a line "documents queries top", then one line of features per document, then one line of feature:weight per query.
 * Standard output: for each query and each mapping a line of document:score.
 */
public class LuceneScores {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        String[] sizes = input.readLine().split(" ");
        int documents = Integer.parseInt(sizes[0]), queries = Integer.parseInt(sizes[1]), top = Integer.parseInt(sizes[2]);
        FieldType text = new FieldType();
        text.setTokenized(true);
        text.setOmitNorms(true);
        text.setIndexOptions(IndexOptions.DOCS);
        text.freeze();
        ByteBuffersDirectory directory = new ByteBuffersDirectory();
        IndexWriterConfig settings = new IndexWriterConfig(new WhitespaceAnalyzer()).setSimilarity(new BooleanSimilarity());
        try (IndexWriter writer = new IndexWriter(directory, settings)) {
            for (int i = 0; i < documents; ++i) {
                String line = input.readLine();
                Document document = new Document();
                document.add(new Field("text", line, text));
                for (String feature : words(line)) {
                    document.add(new FeatureField("features", feature, 1.0f));
                }
                writer.addDocument(document);
                if (i == documents / 2) {
                    writer.commit(); // two segments
                }
            }
        }
        try (DirectoryReader reader = DirectoryReader.open(directory)) {
            IndexSearcher searcher = new IndexSearcher(reader);
            searcher.setSimilarity(new BooleanSimilarity());
            for (int i = 0; i < queries; ++i) {
                BooleanQuery.Builder terms = new BooleanQuery.Builder(), linear = new BooleanQuery.Builder();
                for (String word : words(input.readLine())) {
                    String[] parts = word.split(":");
                    float weight = Float.parseFloat(parts[1]);
                    terms.add(new BoostQuery(new TermQuery(new Term("text", parts[0])), weight), BooleanClause.Occur.SHOULD);
                    linear.add(FeatureField.newLinearQuery("features", parts[0], weight), BooleanClause.Occur.SHOULD);
                }
                print(searcher, terms.build(), top);
                print(searcher, linear.build(), top);
            }
        }
    }

    private static List<String> words(String line) {
        List<String> found = new ArrayList<>();
        for (String word : line.split(" ")) {
            if (!word.isEmpty()) {
                found.add(word);
            }
        }
        return found;
    }

    private static void print(IndexSearcher searcher, Query query, int top) throws Exception {
        StringBuilder line = new StringBuilder();
        for (ScoreDoc hit : searcher.search(query, top).scoreDocs) {
            line.append(hit.doc).append(':').append(hit.score).append(' ');
        }
        System.out.println(line.toString().trim());
    }
}
